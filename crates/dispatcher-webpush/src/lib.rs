//! Web Push: RFC 8291 encryption, RFC 8292 VAPID, RFC 8030 requests.
