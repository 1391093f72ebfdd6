//! Registering and changing devices, the same for REST and gRPC: who may say what about which device.

use carillon_domain::device::DeviceChange;
use carillon_domain::fault::{ErrorCode, Faults};
use carillon_domain::ids::{AppKey, TenantKey, check_device_id, is_device_id};
use carillon_store::{App, Device, Registered, Registrar};
use carillon_vault::{ApiKey, ApiKeyKind};

use crate::auth::{Caller, TenantRef};
use crate::bodies::device::{DeviceBody, token_of};
use crate::ingest::Ingest;
use crate::refusal::Refusal;

/// Whether a device that does not exist is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// PUT: make or change.
    Put,
    /// PATCH: change only.
    Change,
}

/// A device as it is after a registration.
#[derive(Debug)]
pub(crate) struct Registration {
    pub(crate) created: bool,
    pub(crate) device: Device,
    /// The installation's own key, shown this once.
    pub(crate) secret: Option<ApiKey>,
}

/// Registers or changes a device. `key` is the hash of the caller's own key: an installation is known by it.
///
/// # Errors
/// `not_found`, `push_disabled`, `identity_required`, `device_exists`, faults of the change, `unavailable`.
pub(crate) async fn register(
    ingest: &Ingest,
    caller: &Caller,
    (app, device): (&str, &str),
    body: DeviceBody,
    mode: Mode,
    key: [u8; 32],
) -> Result<Registration, Refusal> {
    let (tenant, app) = find_app(ingest, caller, app).await?;
    if registers(caller, &body) {
        ingest.permits.check_switch(tenant, &app).await?;
    }
    check_identity(caller, &app, &body.change)?;
    let mut faults = Faults::new();
    check_device_id(&mut faults, "/path/device", device);
    faults.into_result(())?;
    let keys = (tenant.key, app.app_key);
    let change = complete(ingest, caller, keys, device, body, mode).await?;
    let secret = match caller {
        Caller::App { .. } => Some(ApiKey::mint(ApiKeyKind::Device)?),
        _ => None,
    };
    let who = match (caller, &secret, mode) {
        (_, Some(secret), _) => Registrar::Newcomer { secret_hash: secret.hash() },
        (Caller::Device { .. }, ..) => Registrar::Installation { secret_hash: key },
        (.., Mode::Put) => Registrar::Server,
        (.., Mode::Change) => Registrar::ServerUpdate,
    };
    let (created, device) = put(ingest, keys, device, &change, who).await?;
    Ok(Registration { created, device, secret: secret.filter(|_| created) })
}

/// What `push_enabled` off refuses: a new copy, and every token. What is said about a device that is there is kept, for the day on which
/// the switch is turned on again.
fn registers(caller: &Caller, body: &DeviceBody) -> bool {
    matches!(caller, Caller::App { .. }) || body.change.token.is_some() || body.bare_token.is_some()
}

/// A token that comes alone is of the platform that the device has: what is absent stays (RFC 7396).
async fn complete(
    ingest: &Ingest,
    caller: &Caller,
    (tenant, app): (TenantKey, AppKey),
    device: &str,
    body: DeviceBody,
    mode: Mode,
) -> Result<DeviceChange, Refusal> {
    let DeviceBody { mut change, bare_token } = body;
    let Some(text) = bare_token else { return Ok(change) };
    let known = match caller {
        Caller::App { .. } => None,
        _ => ingest.store.get_device(tenant, app, device).await?,
    };
    if known.is_none() && mode == Mode::Change {
        return Err(Refusal::not_found());
    }
    let mut faults = Faults::new();
    change.token = known.and_then(|known| token_of(known.platform, text));
    match &change.token {
        Some(token) => token.check(&mut faults),
        None => faults.add("/platform", "is required with a token"),
    }
    Ok(faults.into_result(change)?)
}

/// Takes the person off a device: what an app does when somebody logs out.
///
/// # Errors
/// `not_found`, `unavailable`.
pub(crate) async fn unlink(
    ingest: &Ingest,
    caller: &Caller,
    (app, device): (&str, &str),
    key: [u8; 32],
) -> Result<Device, Refusal> {
    let (tenant, app) = find_app(ingest, caller, app).await?;
    let who = match caller {
        Caller::Device { .. } => Registrar::Installation { secret_hash: key },
        _ => Registrar::ServerUpdate,
    };
    let change = DeviceChange { user_id: Some(None), phone: Some(None), ..Default::default() };
    put(ingest, (tenant.key, app.app_key), device, &change, who).await.map(|(_, device)| device)
}

/// One device.
///
/// # Errors
/// `not_found`, `unavailable`.
pub(crate) async fn find(ingest: &Ingest, caller: &Caller, (app, device): (&str, &str)) -> Result<Device, Refusal> {
    let (tenant, app) = find_app(ingest, caller, app).await?;
    if !is_device_id(device) {
        return Err(Refusal::not_found());
    }
    let found = ingest.store.get_device(tenant.key, app.app_key, device).await?;
    found.ok_or_else(Refusal::not_found)
}

/// Forgets a device.
///
/// # Errors
/// `not_found`, `unavailable`.
pub(crate) async fn forget(ingest: &Ingest, caller: &Caller, (app, device): (&str, &str)) -> Result<(), Refusal> {
    let (tenant, app) = find_app(ingest, caller, app).await?;
    if !is_device_id(device) || !ingest.store.forget_device(tenant.key, app.app_key, device).await? {
        return Err(Refusal::not_found());
    }
    // Whoever holds the installation's key is nobody from now on.
    ingest.keyring.forget();
    Ok(())
}

/// The caller's tenant and one of its apps.
///
/// # Errors
/// `forbidden`, `not_found`, `unavailable`.
pub(crate) async fn find_app<'a>(
    ingest: &Ingest,
    caller: &'a Caller,
    app: &str,
) -> Result<(&'a TenantRef, std::sync::Arc<App>), Refusal> {
    let tenant = caller.tenant().ok_or_else(Refusal::internal)?;
    caller.check_app(app)?;
    Ok((tenant, ingest.app(tenant.key, app).await?))
}

async fn put(
    ingest: &Ingest,
    (tenant, app): (TenantKey, AppKey),
    device: &str,
    change: &DeviceChange,
    who: Registrar,
) -> Result<(bool, Device), Refusal> {
    if !is_device_id(device) {
        return Err(Refusal::not_found());
    }
    match ingest.store.put_device(tenant, app, device, change, who).await? {
        Registered::Done { created, device } => Ok((created, *device)),
        Registered::Exists => {
            let detail = "A device of this id exists. Take a new id: the token moves to it.";
            Err(Refusal::new(ErrorCode::DeviceExists, detail))
        }
        Registered::Absent => Err(Refusal::not_found()),
        Registered::Refused(faults) => Err(faults.into()),
    }
}

/// An app in a stranger's hands must not say whose device it is; the tenant's backend does.
fn check_identity(caller: &Caller, app: &App, change: &DeviceChange) -> Result<(), Refusal> {
    if !caller.is_on_a_device() || !app.settings.identity_required {
        return Ok(());
    }
    let fields = [
        ("/user_id", change.user_id.is_some()),
        ("/phone", change.phone.is_some()),
        ("/primary", change.primary.is_some()),
        ("/tags", change.tags.is_some()),
        ("/attributes", change.clear_attributes || !change.attributes.is_empty()),
    ];
    let mut faults = Faults::new();
    for (pointer, _) in fields.into_iter().filter(|(_, said)| *said) {
        faults.add_code(ErrorCode::IdentityRequired, pointer, "is for the tenant's backend to say");
    }
    Ok(faults.into_result(())?)
}
