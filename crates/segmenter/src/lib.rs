//! From a notification to chunks: audiences, schedules, cancel, the scan.
