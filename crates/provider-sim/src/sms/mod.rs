//! An SMS gateway in SMSAPI's style, delivery reports included.

mod accounts;
mod parameters;
mod reports;
mod send;
mod text;

pub(crate) use accounts::Gateway;
pub use accounts::SmsAccount;
pub use reports::ReportRecord;
pub(crate) use send::Sms;
