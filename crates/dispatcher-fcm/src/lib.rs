//! FCM HTTP v1: OAuth bearer, requests, error details.
