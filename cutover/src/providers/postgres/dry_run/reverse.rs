//! The two ends of the reverse stream.

use async_trait::async_trait;

use super::{
    super::statements::{SUBSCRIPTION, create_subscription},
    server::RecordingServer,
};
use crate::ports::{
    Armed, ProviderError, ReversePublisher, ReverseSlot, ReverseSubscriber, SequenceValue,
    SlotProgress, SubscriptionSpec,
};

#[async_trait]
impl ReversePublisher for RecordingServer {
    async fn create_slots(&self, datnames: &[String]) -> Result<Vec<ReverseSlot>, ProviderError> {
        Ok(datnames
            .iter()
            .map(|datname| {
                let slot = format!("pointsman_rb_{}", self.oid(datname));
                self.note(format!(
                    "SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput') in {datname}"
                ));
                ReverseSlot {
                    datname: datname.clone(),
                    slot,
                    lsn: self.observed.position,
                }
            })
            .collect())
    }

    async fn slots_there(&self, _datnames: &[String]) -> Result<Vec<ReverseSlot>, ProviderError> {
        Ok(Vec::new())
    }

    async fn drop_slots(&self, slots: &[ReverseSlot]) -> Result<(), ProviderError> {
        for slot in slots {
            self.note(format!("SELECT pg_drop_replication_slot('{}')", slot.slot));
        }
        Ok(())
    }

    async fn slot_progress(
        &self,
        slots: &[ReverseSlot],
    ) -> Result<Vec<SlotProgress>, ProviderError> {
        self.note("wait until every reverse slot has confirmed the marker");
        Ok(slots
            .iter()
            .map(|slot| SlotProgress {
                slot: slot.slot.clone(),
                streaming: true,
                confirmed: self.observed.position,
                kept_from: self.observed.position,
                position: self.observed.position,
            })
            .collect())
    }

    async fn missing(&self, _slots: &[ReverseSlot]) -> Result<Vec<String>, ProviderError> {
        Ok(Vec::new())
    }

    async fn left_out(&self, _datnames: &[String]) -> Result<Vec<String>, ProviderError> {
        Ok(Vec::new())
    }

    async fn sequences(&self, datname: &str) -> Result<Vec<SequenceValue>, ProviderError> {
        self.note(format!(
            "SELECT last_value, is_called FROM each sequence of {datname}"
        ));
        Ok(Vec::new())
    }
}

#[async_trait]
impl ReverseSubscriber for RecordingServer {
    async fn arm(&self, subscriptions: &[SubscriptionSpec]) -> Result<Armed, ProviderError> {
        for subscription in subscriptions {
            self.note(create_subscription(&subscription.slot));
        }
        Ok(Armed::default())
    }

    async fn raise_sequences(&self, datname: &str) -> Result<usize, ProviderError> {
        self.note(format!(
            "SELECT setval(…, max(…)) for each sequence of {datname} that belongs to a column"
        ));
        Ok(0)
    }

    async fn lacking_sequences(
        &self,
        _datname: &str,
        _sequences: &[SequenceValue],
    ) -> Result<Vec<String>, ProviderError> {
        Ok(Vec::new())
    }

    async fn set_sequences(
        &self,
        datname: &str,
        values: &[SequenceValue],
    ) -> Result<usize, ProviderError> {
        self.note(format!("SELECT setval(…) for each sequence of {datname}"));
        Ok(values.len())
    }

    async fn disable_subscriptions(&self, datnames: &[String]) -> Result<(), ProviderError> {
        for datname in datnames {
            self.note(format!(
                "ALTER SUBSCRIPTION {SUBSCRIPTION} DISABLE in {datname}"
            ));
        }
        Ok(())
    }

    async fn drop_subscriptions(&self, datnames: &[String]) -> Result<(), ProviderError> {
        for datname in datnames {
            self.note(format!("DROP SUBSCRIPTION {SUBSCRIPTION} in {datname}"));
        }
        Ok(())
    }

    async fn restore_logins(&self, armed: &Armed) -> Result<(), ProviderError> {
        for role in &armed.nologin_roles {
            self.note(format!("ALTER ROLE {role} LOGIN"));
        }
        Ok(())
    }
}
