//! The CNAPT: the module beside the client application
