//! The reverse stream: slots and sequences on the publisher, subscriptions on the
//! subscriber.

mod publisher;
mod subscriber;

pub(super) use publisher::SqlReversePublisher;
pub(super) use subscriber::SqlReverseSubscriber;
