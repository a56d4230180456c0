//! The protocol, pure: wire codec, steps, streams and both session machines
