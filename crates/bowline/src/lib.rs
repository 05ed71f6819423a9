//! The crate applications link: Microservice and ServiceClient.
