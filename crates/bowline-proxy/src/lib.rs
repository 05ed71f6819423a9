//! The data-plane engine: listener, route, backend, upstream, on an immutable snapshot.
