//! What a crash or a bad disk leaves is opened, and never gives wrong samples.
