//! What sending to providers measures.

use super::metrics;

metrics! {
    counter ATTEMPTS = "carillon_attempts_total" ["platform", "outcome"]
        "Provider calls by `platform` and `outcome` (sent, rejected, token_invalid, throttled, unavailable, misconfigured, unknown), and messages that expired before one (expired).";
    counter RETRIES = "carillon_retries_total" ["platform", "reason"]
        "Attempts that repeat an earlier one, by `platform` and `reason` (throttled, unavailable, connection_lost, other_environment).";
    calls PROVIDER_REQUEST_SECONDS = "carillon_provider_request_seconds" ["platform", "outcome"]
        "Seconds per provider call by `platform` and `outcome`.";
    counter PROVIDER_THROTTLED = "carillon_provider_throttled_total" ["platform"]
        "Answers of providers that ask for less, by `platform`.";
    gauge CIRCUIT_OPEN = "carillon_circuit_open" ["platform"]
        "Breakers that are open or half open, by `platform`.";
    gauge PROVIDER_CONNECTIONS = "carillon_provider_connections" ["platform"]
        "Open connections to providers, by `platform`.";
    gauge PROVIDER_STREAMS = "carillon_provider_streams" ["platform"]
        "Provider calls without an answer yet, by `platform`.";
    counter CREDENTIALS_REJECTED = "carillon_credentials_rejected_total" ["platform"]
        "Answers that blame the credential, by `platform`.";
    counter TOKENS_INVALIDATED = "carillon_tokens_invalidated_total" ["platform", "reason"]
        "Push tokens found dead, by `platform` and `reason` (unregistered, bad_token).";
    calls CLAIM_SECONDS = "carillon_claim_seconds" ["platform"]
        "Seconds per claim of a chunk, by `platform`.";
    calls REPORT_SECONDS = "carillon_report_seconds" ["platform"]
        "Seconds per report of outcomes, by `platform`.";
    counter CHUNKS_FINISHED = "carillon_chunks_finished_total" ["platform", "outcome"]
        "Chunks a dispatcher let go, by `platform` and `outcome` (done, deferred, cancelled, lost_claim, panicked).";
    waits E2E_LATENCY_SECONDS = "carillon_e2e_latency_seconds" ["platform", "lane"]
        "Seconds from accepting a notification to the provider's acceptance, by `platform` and `lane`.";
}
