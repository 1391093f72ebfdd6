//! Every way out to strangers: HTTP/2 pool, plain HTTP client, the guard against internal addresses.
