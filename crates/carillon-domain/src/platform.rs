//! Platforms, operating systems, lanes and kinds: small closed lists with one text and one number each.

macro_rules! closed_list {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $number:literal, $text:literal;)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$vdoc])* $variant = $number,)+ }

        impl $name {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            /// The text that callers see.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text,)+ }
            }

            /// The number that tables and events keep. Never reused for another meaning.
            pub const fn number(self) -> i16 {
                self as i16
            }

            /// Back from [`Self::as_str`].
            pub fn from_text(text: &str) -> Option<Self> {
                match text { $($text => Some($name::$variant),)+ _ => None }
            }

            /// Back from [`Self::number`].
            pub fn from_number(number: i16) -> Option<Self> {
                match number { $($number => Some($name::$variant),)+ _ => None }
            }

            /// The texts, for an error that says what would be right.
            pub fn texts() -> String {
                [$($text,)+].join(", ")
            }
        }
    };
}
pub(crate) use closed_list;

closed_list! {
    /// Whose token a device has, and so which dispatcher sends to it.
    Platform {
        /// Apple Push Notification service.
        Apns = 1, "apns";
        /// Firebase Cloud Messaging.
        Fcm = 2, "fcm";
        /// A browser's push service (RFC 8030).
        Webpush = 3, "webpush";
    }
}

closed_list! {
    /// The operating system of a device.
    Os {
        /// iOS and iPadOS.
        Ios = 1, "ios";
        /// Android.
        Android = 2, "android";
        /// A browser.
        Web = 3, "web";
        /// macOS.
        Macos = 4, "macos";
        /// Anything else.
        Other = 5, "other";
    }
}

closed_list! {
    /// Which queue of a platform: transactional never waits behind bulk.
    Lane {
        /// Few named recipients.
        Transactional = 1, "transactional";
        /// A campaign.
        Bulk = 2, "bulk";
    }
}

closed_list! {
    /// The traffic type of a notification.
    Kind {
        /// Something the person did or asked for.
        Transactional = 1, "transactional";
        /// Advertising.
        Marketing = 2, "marketing";
        /// About the service itself.
        Service = 3, "service";
    }
}

impl Platform {
    /// The operating system a device of this platform has when its registration does not say.
    pub const fn default_os(self) -> Os {
        match self {
            Platform::Apns => Os::Ios,
            Platform::Fcm => Os::Android,
            Platform::Webpush => Os::Web,
        }
    }
}
