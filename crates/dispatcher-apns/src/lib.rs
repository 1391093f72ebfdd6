//! APNs: token authentication, HTTP/2 requests, reasons.
