//! Unread in time becomes one SMS: timers, gateways, delivery reports.
