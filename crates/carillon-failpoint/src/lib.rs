//! Crash points: places where a process can be told to die, to fail or to hang.
//!
//! What may be neither lost nor done twice passes few functions: those that commit, publish, acknowledge, call a provider or answer a
//! request. Each of them names its [`Point`] and does its work inside [`Point::around`] (or calls [`Point::pass`] on both sides of it). They are
//! in every build, so what is tried is what runs; unless a setting armed one, passing costs one relaxed load.
//!
//! ```
//! use carillon_failpoint::{Failed, Plan, Point, arm};
//!
//! async fn commit() -> Result<&'static str, Failed> {
//!     Point::ReportCommit.around(async { Ok("committed") }).await
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! assert!(commit().await.is_ok());
//! let plan: Plan = "store.report.commit:after=error@2".parse().unwrap();
//! arm(plan, |hit| assert_eq!(hit.to_string(), "store.report.commit:after=error@2"));
//! assert!(commit().await.is_ok());
//! assert!(commit().await.is_err(), "committed, and the caller cannot know");
//! assert!(commit().await.is_ok(), "once");
//! # }
//! ```

mod armed;
mod plan;
mod point;
mod turn;

pub use armed::{Failed, Hit, arm};
pub use plan::{Action, Arming, Plan, PlanError, Side};
pub use point::Point;
pub use turn::Armed;
