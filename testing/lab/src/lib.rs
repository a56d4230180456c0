//! Real kernel: namespaces, emulated links, scenarios, benchmarks
