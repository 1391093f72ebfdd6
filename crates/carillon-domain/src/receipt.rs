//! Receipts: what a device says it did with a push.

use crate::delivery_status::Status;
use crate::platform::closed_list;

closed_list! {
    /// An event a device reports.
    Event {
        /// It arrived.
        Delivered = 1, "delivered";
        /// It was shown.
        Displayed = 2, "displayed";
        /// It was swiped away.
        Dismissed = 3, "dismissed";
        /// It was opened.
        Opened = 4, "opened";
        /// A button or the link was pressed.
        Clicked = 5, "clicked";
    }
}

impl Event {
    /// The status it is evidence for.
    pub const fn status(self) -> Status {
        match self {
            Event::Delivered => Status::Delivered,
            Event::Displayed => Status::Displayed,
            Event::Dismissed => Status::Dismissed,
            Event::Opened => Status::Opened,
            Event::Clicked => Status::Clicked,
        }
    }
}

closed_list! {
    /// What a receipt did.
    Recorded {
        /// It was news.
        Recorded = 1, "recorded";
        /// It was known.
        Duplicate = 2, "duplicate";
        /// It names no delivery of this caller.
        Unknown = 3, "unknown";
    }
}

closed_list! {
    /// What a receipt did to the person's cascade.
    CascadeEffect {
        /// No text will be sent.
        Stopped = 1, "stopped";
        /// A text is under way or was sent.
        TooLate = 2, "too_late";
        /// There is no cascade, or this event does not stop it.
        None = 3, "none";
    }
}
