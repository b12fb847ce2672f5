use pointsman_catalog::NodeId;
use pointsman_cutover::ports::Convergence;
use pointsman_xds::Outcome;

/// What the library found, in the engine's terms.
pub(super) fn convergence(found: pointsman_xds::Convergence) -> Convergence {
    let mut convergence = Convergence {
        reached: found.reached,
        ..Convergence::default()
    };
    for (node, outcome) in found.nodes {
        // Registered names are valid node ids.
        let Ok(node) = NodeId::new(node.as_str()) else {
            continue;
        };
        match outcome {
            Outcome::Synced { .. } => convergence.acknowledged.push(node),
            Outcome::Nacked { message, .. } => {
                convergence.refused.push((node, message.to_string()));
            }
            Outcome::Lagging => convergence.lagging.push(node),
            Outcome::Absent => convergence.absent.push(node),
        }
    }
    let valid = |node: pointsman_xds::NodeId| NodeId::new(node.as_str()).ok();
    convergence.left = found.left.into_iter().filter_map(valid).collect();
    let others = found.others.into_iter();
    let others = others.filter_map(|(node, _outcome)| valid(node));
    (convergence.joined, convergence.unregistered) = others.partition(NodeId::is_member);
    convergence
}
