//! The SNAPT: the module beside the server application
