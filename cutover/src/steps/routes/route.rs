//! What one route becomes.

use pointsman_catalog::{Role, Route, Routes, ServerName, UnixMillis};

/// The route to `servers`, keeping what served before as draining so that its open
/// connections stay visible. What drains already goes on draining, so that the same route published
/// again, as after a crash, changes nothing.
pub(in super::super) fn serve(
    servers: Vec<ServerName>,
    former: Option<&Routes>,
    role: Role,
) -> Route {
    let former = former.map(|routes| match role {
        Role::Writer => &routes.writer,
        Role::Reader => &routes.reader,
    });
    let draining = former
        .into_iter()
        .flat_map(Route::named)
        .filter(|server| !servers.contains(server))
        .cloned()
        .collect();
    Route::Serve { servers, draining }
}

/// The route without what drains; `None` if nothing does.
pub(super) fn drained(route: &Route) -> Option<Route> {
    match route {
        Route::Serve { servers, draining } if !draining.is_empty() => {
            Some(Route::serve(servers.clone()))
        }
        Route::Serve { .. } | Route::Hold { .. } | Route::Refuse => None,
    }
}

/// Whether the route parks connections for `servers`, and began to at that time.
pub(super) fn held_for(route: &Route, servers: &[ServerName], began: UnixMillis) -> bool {
    matches!(route, Route::Hold { from, since, .. } if from == servers && *since == began)
}

#[cfg(test)]
mod tests {
    use pointsman_catalog::Epoch;

    use super::*;

    #[test]
    fn a_route_that_is_published_again_keeps_what_drains() {
        let [blue, green] = ["blue", "green"].map(|name| ServerName::new(name).unwrap());
        let of = |writer: Route| Routes {
            writer,
            reader: Route::Refuse,
            epoch: Epoch(1),
        };
        let before = of(Route::serve(vec![blue.clone()]));
        let flipped = serve(vec![green.clone()], Some(&before), Role::Writer);
        let expected = Route::Serve {
            servers: vec![green.clone()],
            draining: vec![blue.clone()],
        };
        assert_eq!(flipped, expected);
        let flipped = of(flipped);
        let again = serve(vec![green.clone()], Some(&flipped), Role::Writer);
        assert_eq!(again, expected);
        let back = serve(vec![blue.clone()], Some(&flipped), Role::Writer);
        let expected = Route::Serve {
            servers: vec![blue],
            draining: vec![green],
        };
        assert_eq!(back, expected);
    }
}
