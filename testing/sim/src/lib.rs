//! Both machines, their streams and simulated applications in virtual time
