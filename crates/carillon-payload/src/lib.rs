//! From content to a platform's bytes with splice points: pure.
//!
//! [`render`] makes one [`Template`] per platform and variant; a dispatcher only copies slices of it with the [`Values`] of
//! one message between them. Three crates meet here: ingest-api refuses with [`check`] what would not fit, the segmenter
//! groups devices with [`Variants`] and renders, dispatchers splice.
//!
//! A body is never searched for its splice points: they are noted while the JSON is written, so no text of a caller's can
//! be taken for one, and values of `data` and overrides are carried as they were written.
//!
//! ```
//! use carillon_domain::{content::Content, ids::*, notification::{Draft, Notification}, platform::Platform, reference::Reference};
//! use carillon_payload::{Address, Facts, Values, render};
//!
//! let n = Notification::accepted(Draft {
//!     content: Content { title: Some("Hello".into()), ..Default::default() },
//!     ..Default::default()
//! });
//! let id = NotificationId(uuid::Uuid::nil());
//! let facts = Facts { notification_id: id, link: 0, expires_at: jiff::Timestamp::UNIX_EPOCH, icon_url: None, default_locale: None };
//! let template = render(&n, Platform::Apns, None, &facts)?;
//! let reference = Reference { chunk: ChunkId { run: id.as_run(), number: 0 }, position: 7 };
//! let body = template.render(&Values::new(Address::Token("00ff"), "phone-1", reference, 60));
//! assert!(body.starts_with(br#"{"aps":{"alert":{"title":"Hello"}"#));
//! # Ok::<(), carillon_payload::PayloadError>(())
//! ```

mod apns;
mod delivery;
mod error;
mod fcm;
mod json;
mod locale;
mod overrides;
mod render;
mod reserved;
mod size;
mod template;
mod values;
mod webpush;

#[cfg(test)]
mod tests;

pub use delivery::{Delivery, delivery};
pub use error::{PayloadError, Problem};
pub use locale::Variants;
pub use render::{Facts, render};
pub use size::{CheckError, TooLarge, check, largest, limit};
pub use template::{Splice, Template, TemplateError};
pub use values::{Address, Values};
