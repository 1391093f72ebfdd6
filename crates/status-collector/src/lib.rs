//! The ledger: claims, reports, statuses, counters, token retirement, status events.
