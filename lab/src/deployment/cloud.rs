//! The cloud that runs a managed pair.

use std::{ffi::OsString, sync::Arc, time::Duration};

use anyhow::Result;

use crate::postgres::{Hosting, PostgresPair, PromotionApi, PromotionEndpoint};

/// What a cloud offers for a pair besides SQL.
#[derive(Debug)]
pub struct Cloud {
    /// Promotes the target.
    pub promotion: Arc<PromotionApi>,
    endpoint: PromotionEndpoint,
    target: String,
}

impl Cloud {
    /// The cloud of `pair`, whose users run it themselves otherwise. A promotion takes `takes`.
    pub(super) async fn start(pair: &PostgresPair, takes: Duration) -> Result<Option<Self>> {
        if pair.target.hosting() == Hosting::SelfManaged {
            return Ok(None);
        }
        let promotion = Arc::new(PromotionApi::new(&pair.target, takes));
        Ok(Some(Self {
            endpoint: PromotionEndpoint::start(Arc::clone(&promotion)).await?,
            promotion,
            target: pair.target.name().to_owned(),
        }))
    }

    /// Tells a control plane which server it promotes, and where.
    pub(super) fn environment(&self) -> (OsString, OsString) {
        let place = format!("{}={}", self.target, self.endpoint.address());
        (Self::VARIABLE.into(), place.into())
    }

    /// `pointsman` with a provider that asks the API.
    pub(super) const PROGRAM: &str = "managed_pointsman";

    /// `SERVER=IP:PORT`: that server is promoted by the API at this address.
    pub const VARIABLE: &str = "POINTSMAN_LAB_PROMOTION";
}
