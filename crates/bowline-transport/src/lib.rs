//! HTTP connections: our HTTP/1 client, HTTP/2 through hyper, pools per core and shared.
