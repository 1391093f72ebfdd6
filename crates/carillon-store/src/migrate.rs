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
];

/// Held while migrating, so that several processes may start at once.
const LOCK: i64 = 0x6361_7269_6c6c_6f6e;

impl Store {
    /// Brings the schema up to date. Returns the names of what was applied; concurrent callers wait for each other.
    ///
    /// # Errors
    /// [`Error::Refused`] when the database knows a newer migration than this binary, or one of another text.
    pub async fn migrate(&self) -> Result<Vec<&'static str>> {
        let mut connection = self.connection().await?;
        connection.batch_execute("SET statement_timeout = '10min'").await?;
        let transaction = connection.transaction().await?;
        transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
        transaction
            .batch_execute(
                "CREATE TABLE IF NOT EXISTS carillon_migrations (
                     number integer PRIMARY KEY, name text NOT NULL, crc bigint NOT NULL,
                     applied_at timestamptz NOT NULL DEFAULT now())",
            )
            .await?;
        let applied = transaction.query("SELECT number, crc FROM carillon_migrations ORDER BY number", &[]).await?;
        let applied: Vec<(i32, i64)> = applied.iter().map(|row| (row.get(0), row.get(1))).collect();
        check_known(&applied)?;
        let mut news = Vec::new();
        for (number, name, text) in MIGRATIONS.iter().filter(|(n, ..)| !applied.iter().any(|(a, _)| a == n)) {
            transaction.batch_execute(text).await?;
            transaction
                .execute(
                    "INSERT INTO carillon_migrations (number, name, crc) VALUES ($1, $2, $3)",
                    &[number, name, &checksum(text)],
                )
                .await?;
            news.push(*name);
        }
        transaction.commit().await?;
        drop(deadpool_postgres::Object::take(connection));
        Ok(news)
    }

    /// Whether the schema is the one this binary was built for.
    ///
    /// # Errors
    /// As [`Store::migrate`], and [`Error::Refused`] with the missing names when migrations wait.
    pub async fn check_schema(&self) -> Result<()> {
        let connection = self.connection().await?;
        let rows = connection.query("SELECT number, crc FROM carillon_migrations ORDER BY number", &[]).await?;
        let applied: Vec<(i32, i64)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        check_known(&applied)?;
        let mut missing = String::new();
        for (_, name, _) in MIGRATIONS.iter().filter(|(n, ..)| !applied.iter().any(|(a, _)| a == n)) {
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

fn check_known(applied: &[(i32, i64)]) -> Result<()> {
    for (number, crc) in applied {
        let Some((_, name, text)) = MIGRATIONS.iter().find(|(n, ..)| n == number) else {
            return Err(Error::Refused(format!(
                "the database has migration {number}, which is newer than this binary"
            )));
        };
        if *crc != checksum(text) {
            return Err(Error::Refused(format!("migration {number} ({name}) was applied with another text")));
        }
    }
    Ok(())
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

    #[test]
    fn an_unknown_or_edited_migration_stops_the_binary() {
        assert!(check_known(&[(1, checksum(MIGRATIONS[0].2))]).is_ok());
        assert!(check_known(&[(1, 0)]).is_err());
        assert!(check_known(&[(999, 0)]).is_err());
    }
}
