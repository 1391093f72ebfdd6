//! What a run says: each variant of its text, rendered for each platform when the first device falls to it.

use carillon_domain::ids::NotificationId;
use carillon_domain::notification::Notification;
use carillon_domain::platform::Platform;
use carillon_payload::{Facts, Splice, Template, Variants};
use carillon_wire::events::{SealedCredential, Splice as WireSplice, Variant, splice::What};
use jiff::Timestamp;

/// What rendering needs to know of a run.
pub(crate) struct RunText<'a> {
    pub notification: &'a Notification,
    pub notification_id: NotificationId,
    pub tenant: &'a str,
    pub icon_url: Option<&'a str>,
    pub default_locale: Option<&'a str>,
    /// Off: nothing is sent, and its positions are closed.
    pub push_enabled: bool,
    pub released_at: Timestamp,
    pub expires_at: Timestamp,
    pub credentials: &'a [(Platform, SealedCredential)],
    pub link: u16,
    /// Where the notification's trace goes on; empty if it is not recorded, or need not be followed further.
    pub traceparent: &'a str,
}

impl RunText<'_> {
    pub(crate) fn facts(&self) -> Facts<'_> {
        Facts {
            notification_id: self.notification_id,
            link: self.link,
            expires_at: self.expires_at,
            icon_url: self.icon_url,
            default_locale: self.default_locale,
        }
    }
}

/// Renders what a run says, each variant once for all its chunks.
pub(crate) struct Renderer<'a> {
    pub(crate) text: RunText<'a>,
    variants: Variants,
    /// By platform, then by variant: what nobody fell to yet, what does not fit the platform, or what is sent.
    rendered: [Vec<Option<Option<Variant>>>; Platform::ALL.len()],
}

impl<'a> Renderer<'a> {
    pub(crate) fn new(text: RunText<'a>) -> Self {
        let variants = Variants::of(text.notification, &text.facts());
        Self { text, variants, rendered: Default::default() }
    }

    /// Which there are.
    pub(crate) fn variants(&self) -> &Variants {
        &self.variants
    }

    /// A variant by its index. Nothing if it does not fit the platform: an icon or a default locale changed since it was accepted.
    pub(crate) fn variant(&mut self, platform: Platform, index: usize) -> Option<&Variant> {
        let of_platform = &mut self.rendered[platform as usize - 1];
        if of_platform.len() <= index {
            of_platform.resize(self.variants.locales().len().max(index + 1), None);
        }
        let (text, variants) = (&self.text, &self.variants);
        of_platform[index].get_or_insert_with(|| fitting(text, platform, variants.locales().nth(index)?)).as_ref()
    }
}

fn fitting(text: &RunText<'_>, platform: Platform, locale: Option<&str>) -> Option<Variant> {
    let template = carillon_payload::render(text.notification, platform, locale, &text.facts()).ok()?;
    (template.most_bytes() <= carillon_payload::limit(platform)).then(|| wire(&template))
}

fn wire(template: &Template) -> Variant {
    let what = |splice: Splice| match splice {
        Splice::Token => What::Token,
        Splice::Device => What::Device,
        Splice::Reference => What::Reference,
        Splice::TtlSeconds => What::TtlSeconds,
    };
    let splices = template.splices().iter().map(|(offset, s)| WireSplice { offset: *offset, what: what(*s) as i32 });
    Variant { body: template.bytes().clone(), splices: splices.collect() }
}
