//! The life of a process: configuration, signals, supervised tasks, admin port, drain.
