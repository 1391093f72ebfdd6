//! The floor of outcomes: the same rows copied into a table with the same unique index, committed as often.

use std::pin::pin;
use std::time::Instant;

use anyhow::Result;
use jiff::Timestamp;
use tokio_postgres::Client;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::Type;
use uuid::Uuid;

/// Makes the table.
pub(crate) async fn prepare(sql: &Client) -> Result<()> {
    sql.batch_execute("CREATE TABLE copied (LIKE deliveries INCLUDING ALL)").await.map_err(Into::into)
}

/// Copies rows of `subjects` over every connection, `batch` a commit. Returns the seconds that it took.
pub(crate) async fn copy(
    connections: &[Client],
    run: Uuid,
    tenant_key: i32,
    subjects: &[i64],
    provider_ids: &[String],
    batch: usize,
) -> Result<f64> {
    let began = Instant::now();
    let share = subjects.len().div_ceil(connections.len());
    let parts = connections.iter().zip(subjects.chunks(share).zip(provider_ids.chunks(share)));
    let copying = parts.map(|(connection, (subjects, ids))| async move {
        for (subjects, ids) in subjects.chunks(batch).zip(ids.chunks(batch)) {
            one(connection, run, tenant_key, subjects, ids).await?;
        }
        anyhow::Ok(())
    });
    futures::future::try_join_all(copying).await?;
    Ok(began.elapsed().as_secs_f64())
}

async fn one(connection: &Client, run: Uuid, tenant_key: i32, subjects: &[i64], ids: &[String]) -> Result<()> {
    const COPY: &str =
        "COPY copied (run_id, subject, link, tenant_key, platform, bits, prev, provider_id, closed_at, sent_at)
                        FROM STDIN (FORMAT binary)";
    let types = [
        Type::UUID,
        Type::INT8,
        Type::INT2,
        Type::INT4,
        Type::INT2,
        Type::INT2,
        Type::INT2,
        Type::TEXT,
        Type::TIMESTAMPTZ,
        Type::TIMESTAMPTZ,
    ];
    let sink = connection.copy_in(COPY).await?;
    let mut writer = pin!(BinaryCopyInWriter::new(sink, &types));
    let now = Timestamp::now();
    for (subject, id) in subjects.iter().zip(ids) {
        writer
            .as_mut()
            .write(&[&run, subject, &0i16, &tenant_key, &1i16, &64i16, &0i16, id, &None::<Timestamp>, &now])
            .await?;
    }
    writer.finish().await?;
    Ok(())
}
