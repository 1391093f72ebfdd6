//! `carillon.v1.Devices`, for tenants' backends. Copies of an app register over REST, where their key has its place.

mod fields;

use carillon_domain::fault::Faults;
use carillon_domain::phone::Phone;
use carillon_domain::platform::{Os, Platform};
use carillon_store::DeviceFilter;
use carillon_wire::public as pb;
use tonic::{Request, Response, Status};

use super::call::{Call, answer};
use super::listing::{choice, filter, page};
use crate::auth::Grant;
use crate::http::devices::listed_state;
use crate::http::query::encode;
use crate::ingest::{Ingest, Shared};
use crate::refusal::Refusal;
use crate::registering::{self, Mode};

/// The service.
#[derive(Clone)]
pub(super) struct Devices(pub(super) Shared);

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl pb::devices_server::Devices for Devices {
    async fn register(&self, request: Request<pb::RegisterRequest>) -> Answer<pb::Device> {
        let method = "carillon.v1.Devices/Register";
        let work = async |call| register(&self.0, call, Mode::Put).await;
        answer(&self.0, method, Grant::Devices, request, work).await
    }

    async fn update(&self, request: Request<pb::RegisterRequest>) -> Answer<pb::Device> {
        let method = "carillon.v1.Devices/Update";
        let work = async |call| register(&self.0, call, Mode::Change).await;
        answer(&self.0, method, Grant::Devices, request, work).await
    }

    async fn get(&self, request: Request<pb::GetDeviceRequest>) -> Answer<pb::Device> {
        let method = "carillon.v1.Devices/Get";
        answer(&self.0, method, Grant::Read, request, async |call: Call<pb::GetDeviceRequest>| {
            let m = call.message;
            let found = registering::find(&self.0, &call.caller, (&m.app, &m.device)).await?;
            Ok(fields::device(found, m.app))
        })
        .await
    }

    async fn list(&self, request: Request<pb::ListDevicesRequest>) -> Answer<pb::ListDevicesResponse> {
        let method = "carillon.v1.Devices/List";
        answer(&self.0, method, Grant::Read, request, async |call| list(&self.0, call).await).await
    }

    async fn remove(&self, request: Request<pb::RemoveDeviceRequest>) -> Answer<pb::RemoveDeviceResponse> {
        let method = "carillon.v1.Devices/Remove";
        answer(&self.0, method, Grant::Devices, request, async |call: Call<pb::RemoveDeviceRequest>| {
            let m = call.message;
            registering::forget(&self.0, &call.caller, (&m.app, &m.device)).await?;
            Ok(pb::RemoveDeviceResponse {})
        })
        .await
    }
}

async fn register(ingest: &Ingest, call: Call<pb::RegisterRequest>, mode: Mode) -> Result<pb::Device, Refusal> {
    let pb::RegisterRequest { app, device, fields, clear } = call.message;
    let body = fields::change(fields.unwrap_or_default(), &clear)?;
    let done = registering::register(ingest, &call.caller, (&app, &device), body, mode, call.key_hash).await?;
    Ok(fields::device(done.device, app))
}

async fn list(ingest: &Ingest, call: Call<pb::ListDevicesRequest>) -> Result<pb::ListDevicesResponse, Refusal> {
    let (m, mut faults) = (call.message, Faults::new());
    let filter = DeviceFilter {
        user_id: filter(&mut faults, "/user_id", m.user_id),
        phone: choice(&mut faults, "/phone", &m.phone, Phone::parse, "phone numbers in E.164"),
        platform: choice(&mut faults, "/platform", &m.platform, Platform::from_text, &Platform::texts()),
        os: choice(&mut faults, "/os", &m.os, Os::from_text, &Os::texts()),
        state: choice(&mut faults, "/state", &m.state, listed_state, "active, inactive, invalid"),
        tags: filter(&mut faults, "/tag", m.tag).into_iter().collect(),
    };
    let page = page(&mut faults, m.limit, &m.cursor);
    faults.into_result(())?;
    let (tenant, app) = registering::find_app(ingest, &call.caller, &m.app).await?;
    let listed = ingest.store.list_devices(tenant.key, app.app_key, &filter, &page).await?;
    Ok(pb::ListDevicesResponse {
        next_cursor: listed.next.as_ref().map(encode).unwrap_or_default(),
        items: listed.items.into_iter().map(|device| fields::device(device, m.app.clone())).collect(),
    })
}
