//! Migrations: numbered files, applied once each, in order, by whoever comes first.

use crate::{Error, Result, Store};
use carillon_failpoint::Point;
use std::fmt::Write;

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
];

/// How a file says which binaries still work on the schema that it makes: those that know the migration of this number, or a later one. A
/// file that does not say it works with those only that know it.
const OLDEST: &str = "-- oldest binary: ";

/// Held while migrating, so that several processes may start at once.
const LOCK: i64 = 0x6361_7269_6c6c_6f6e;

impl Store {
    /// Brings the schema up to date. Returns the names of what was applied; concurrent callers wait for each other.
    ///
    /// # Errors
    /// [`Error::Refused`] when the database has a migration that this binary is too old for, or one of another text.
    #[allow(clippy::disallowed_methods, reason = "a migration may take longer than other commits are given")]
    pub async fn migrate(&self) -> Result<Vec<&'static str>> {
        let mut connection = self.connection().await?;
        connection.batch_execute("SET statement_timeout = '10min'").await?;
        let transaction = connection.transaction().await?;
        transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
        transaction
            .batch_execute(
                "CREATE TABLE IF NOT EXISTS carillon_migrations (
                     number integer PRIMARY KEY, name text NOT NULL, crc bigint NOT NULL,
                     applied_at timestamptz NOT NULL DEFAULT now());
                 ALTER TABLE carillon_migrations ADD COLUMN IF NOT EXISTS oldest_binary integer",
            )
            .await?;
        let applied = read(&transaction.query(APPLIED, &[]).await?);
        check_known(&applied)?;
        let mut news = Vec::new();
        for (number, name, text) in MIGRATIONS.iter().filter(|(n, ..)| !applied.iter().any(|a| a.number == *n)) {
            transaction.batch_execute(text).await?;
            transaction
                .execute(
                    "INSERT INTO carillon_migrations (number, name, crc, oldest_binary) VALUES ($1, $2, $3, $4)",
                    &[number, name, &checksum(text), &oldest_binary(*number, text)],
                )
                .await?;
            news.push(*name);
        }
        transaction.commit().await?;
        drop(deadpool_postgres::Object::take(connection));
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

    /// Makes the weekly partitions of the weeks to come. Cheap when they are there.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database is away.
    pub async fn make_partitions(&self, weeks_ahead: i32) -> Result<i32> {
        let made =
            self.write_maybe_row(Point::PurgeCommit, "SELECT carillon_make_partitions($1)", &[&weeks_ahead]).await?;
        Ok(made.map_or(0, |row| row.get(0)))
    }
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

    #[test]
    fn a_file_says_which_binaries_it_works_with_or_works_with_its_own() {
        assert_eq!(oldest_binary(9, "-- oldest binary: 7\nSELECT 1"), 7);
        assert_eq!(oldest_binary(9, "SELECT 1"), 9);
        for (number, name, text) in MIGRATIONS {
            assert!((1..=*number).contains(&oldest_binary(*number, text)), "{name} names binaries that never were");
        }
    }
}
