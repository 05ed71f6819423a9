//! The control-plane node: the HTTP/JSON API over registry and traces.
