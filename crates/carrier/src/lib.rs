//! Identity and carriers: TLS 1.3 over TCP with pinned raw public keys
