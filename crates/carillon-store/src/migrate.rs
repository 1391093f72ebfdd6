//! Migrations: numbered files, applied once each, in order, by whoever comes first.

use crate::{Error, Result, Store};
use deadpool_postgres::{ClientWrapper, Object};
use std::fmt::Write;
use std::time::{Duration, Instant};
use tokio_postgres::error::SqlState;

/// Every migration: number, name, text. A file that was released is never changed; the next change is a new file.
const MIGRATIONS: &[(i32, &str, &str)] = &[
    (1, "tenants_and_apps", include_str!("../migrations/0001_tenants_and_apps.sql")),
    (2, "devices", include_str!("../migrations/0002_devices.sql")),
    (3, "notifications", include_str!("../migrations/0003_notifications.sql")),
    (4, "sms", include_str!("../migrations/0004_sms.sql")),
    (5, "due_work", include_str!("../migrations/0005_due_work.sql")),
    (6, "waiting_cascades", include_str!("../migrations/0006_waiting_cascades.sql")),
    (7, "asked_of_devices", include_str!("../migrations/0007_asked_of_devices.sql")),
    (8, "pause", include_str!("../migrations/0008_pause.sql")),
    (9, "publishers_and_traces", include_str!("../migrations/0009_publishers_and_traces.sql")),
    (10, "status_batches_as_they_are", include_str!("../migrations/0010_status_batches_as_they_are.sql")),
    (11, "last_sent", include_str!("../migrations/0011_last_sent.sql")),
    (12, "what_is_due_at_a_glance", include_str!("../migrations/0012_what_is_due_at_a_glance.sql")),
    (13, "chunks_are_dropped", include_str!("../migrations/0013_chunks_are_dropped.sql")),
    (14, "conditions", include_str!("../migrations/0014_conditions.sql")),
];

/// How a file says which binaries still work on the schema that it makes: those that know the migration of this number, or a later one. A
/// file that does not say it works with those only that know it. "Work" means that the binary does all that it did before, beside newer ones:
/// it reads what they write, and does not undo what they rely on.
const OLDEST: &str = "-- oldest binary: ";

/// Held while migrating, so that several processes may start at once.
const LOCK: i64 = 0x6361_7269_6c6c_6f6e;
/// How often whoever waits for another process's migration looks whether it is over.
const LOOK: Duration = Duration::from_millis(200);
/// How long that may take, and how long traffic may keep one file from its locks.
const PATIENCE: Duration = Duration::from_secs(10 * 60);
/// The pause before a file that traffic was in the way of is tried again.
const AGAIN: Duration = Duration::from_millis(500);

/// A file waits only briefly for a lock: behind it waits whoever wants the table after it, and that is the platform.
const SETTINGS: &str = "SET statement_timeout = '10min'; SET lock_timeout = '2s'";

impl Store {
    /// Brings the schema up to date, file by file, each in a transaction of its own. Returns the names of what was applied; concurrent
    /// callers wait for each other. The platform may be at work meanwhile: a file that it is in the way of is tried again.
    ///
    /// # Errors
    /// [`Error::Refused`] when the database has a migration that this binary is too old for, or one of another text; what was applied before
    /// an error stays. [`Error::Unavailable`] after ten minutes of waiting, or when the database is away.
    pub async fn migrate(&self) -> Result<Vec<&'static str>> {
        // A session's lock ends with the session, so it is one of its own.
        let mut connection = Object::take(self.lasting_connection().await?);
        connection.batch_execute(SETTINGS).await?;
        lock(&connection).await?;
        connection
            .batch_execute(
                "CREATE TABLE IF NOT EXISTS carillon_migrations (
                     number integer PRIMARY KEY, name text NOT NULL, crc bigint NOT NULL,
                     applied_at timestamptz NOT NULL DEFAULT now());
                 ALTER TABLE carillon_migrations ADD COLUMN IF NOT EXISTS oldest_binary integer",
            )
            .await?;
        let applied = read(&connection.query(APPLIED, &[]).await?);
        check_known(&applied)?;
        let mut news = Vec::new();
        for migration in MIGRATIONS.iter().filter(|(n, ..)| !applied.iter().any(|a| a.number == *n)) {
            let began = Instant::now();
            while let Err(error) = apply(&mut connection, migration).await {
                if !is_in_the_way(&error) || began.elapsed() > PATIENCE {
                    return Err(error.into());
                }
                tracing::info!(migration = migration.1, %error, "a migration waits for a moment between the platform's own statements");
                tokio::time::sleep(AGAIN).await;
            }
            news.push(migration.1);
        }
        Ok(news)
    }

    /// Whether the schema is the one this binary was built for, or a newer one that says it still works with it: while a rollout
    /// replaces replicas one by one, the old ones run on.
    ///
    /// # Errors
    /// As [`Store::migrate`], and [`Error::Refused`] with the missing names when migrations wait.
    pub async fn check_schema(&self) -> Result<()> {
        let connection = self.connection().await?;
        let applied = read(&connection.query(APPLIED, &[]).await?);
        check_known(&applied)?;
        let mut missing = String::new();
        for (_, name, _) in MIGRATIONS.iter().filter(|(n, ..)| !applied.iter().any(|a| a.number == *n)) {
            let _ = write!(missing, " {name}");
        }
        if missing.is_empty() {
            return Ok(());
        }
        Err(Error::Refused(format!("migrations were not applied yet:{missing}; run `carillon migrate`")))
    }
}

/// Asks again and again instead of waiting inside a statement: that would be a transaction which others may have to wait for.
async fn lock(connection: &ClientWrapper) -> Result<()> {
    let began = Instant::now();
    while !connection.query_one("SELECT pg_try_advisory_lock($1)", &[&LOCK]).await?.get::<_, bool>(0) {
        if began.elapsed() > PATIENCE {
            return Err(Error::Unavailable("another process has been migrating for ten minutes".into()));
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// Applies one file and notes it, or does neither.
#[allow(clippy::disallowed_methods, reason = "a migration may take longer than other commits are given")]
async fn apply(
    connection: &mut ClientWrapper,
    (number, name, text): &(i32, &str, &str),
) -> std::result::Result<(), tokio_postgres::Error> {
    let transaction = connection.transaction().await?;
    transaction.batch_execute(text).await?;
    let note = "INSERT INTO carillon_migrations (number, name, crc, oldest_binary) VALUES ($1, $2, $3, $4)";
    transaction.execute(note, &[number, name, &checksum(text), &oldest_binary(*number, text)]).await?;
    transaction.commit().await
}

/// Somebody held a lock for too long, or waited for this one while holding another.
fn is_in_the_way(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|c| *c == SqlState::LOCK_NOT_AVAILABLE || *c == SqlState::T_R_DEADLOCK_DETECTED)
}

/// A migration that was applied.
struct Applied {
    number: i32,
    crc: i64,
    /// The last migration that the oldest binary knows which works on it; nothing where an older runner did not note it.
    oldest_binary: Option<i32>,
}

/// Also readable where the column is not there yet.
const APPLIED: &str = "
    SELECT number, crc, (to_jsonb(m) ->> 'oldest_binary')::integer FROM carillon_migrations m ORDER BY number";

fn read(rows: &[tokio_postgres::Row]) -> Vec<Applied> {
    rows.iter().map(|row| Applied { number: row.get(0), crc: row.get(1), oldest_binary: row.get(2) }).collect()
}

fn check_known(applied: &[Applied]) -> Result<()> {
    let newest = MIGRATIONS.iter().map(|(number, ..)| *number).max().unwrap_or(0);
    for Applied { number, crc, oldest_binary } in applied {
        match MIGRATIONS.iter().find(|(n, ..)| n == number) {
            Some((_, _, text)) if *crc == checksum(text) => {}
            Some((_, name, _)) => {
                return Err(Error::Refused(format!("migration {number} ({name}) was applied with another text")));
            }
            None if oldest_binary.is_some_and(|oldest| oldest <= newest) => {}
            None => {
                return Err(Error::Refused(format!(
                    "the database has migration {number}, and this binary, which ends with {newest}, is too old for it"
                )));
            }
        }
    }
    Ok(())
}

/// What a file says of the binaries that work on its schema.
fn oldest_binary(number: i32, text: &str) -> i32 {
    let said = text.lines().find_map(|line| line.strip_prefix(OLDEST)?.trim().parse().ok());
    said.unwrap_or(number)
}

/// FNV-1a, enough to notice an edited file.
fn checksum(text: &str) -> i64 {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    i64::from_ne_bytes(hash.to_ne_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_numbered_without_a_gap() {
        let numbers: Vec<i32> = MIGRATIONS.iter().map(|m| m.0).collect();
        assert_eq!(numbers, (1..=MIGRATIONS.len() as i32).collect::<Vec<_>>());
    }

    fn applied(number: i32, crc: i64, oldest_binary: Option<i32>) -> Result<()> {
        check_known(&[Applied { number, crc, oldest_binary }])
    }

    #[test]
    fn an_edited_migration_stops_the_binary() {
        assert!(applied(1, checksum(MIGRATIONS[0].2), None).is_ok());
        assert!(applied(1, 0, Some(1)).is_err());
    }

    #[test]
    fn a_newer_migration_stops_the_binaries_that_it_does_not_work_with_any_more() {
        let newest = MIGRATIONS.len() as i32;
        assert!(applied(newest + 2, 0, Some(newest)).is_ok());
        assert!(applied(newest + 2, 0, Some(newest + 1)).is_err());
        assert!(applied(newest + 2, 0, None).is_err());
    }

    /// The first binary that asks for these numbers: older ones refuse every newer schema, whatever it says.
    const READS_NUMBERS: i32 = 7;

    #[test]
    fn a_file_says_which_binaries_it_works_with_or_works_with_its_own() {
        assert_eq!(oldest_binary(9, "-- oldest binary: 7\nSELECT 1"), 7);
        assert_eq!(oldest_binary(9, "SELECT 1"), 9);
        let mut before = READS_NUMBERS;
        for (number, name, text) in MIGRATIONS {
            let oldest = oldest_binary(*number, text);
            assert!(oldest <= *number, "{name} names binaries that never were");
            assert!(oldest == *number || oldest >= before, "{name} names binaries that stopped at an earlier file");
            before = before.max(oldest);
        }
    }
}
