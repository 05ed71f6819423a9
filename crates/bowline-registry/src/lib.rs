//! Registers, finds and watches instances: the registry over the store, and the discovery cache.
