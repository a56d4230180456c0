//! Server applications of the lab's own: small, plain, and on threads, so that nothing of the product is
//! in them.

mod echo;

pub use echo::Echo;
