//! A workload's certificate: asked for, rotated while connections live, verified.
