"""Free placement groups whose creator died: Ray itself does so only once the job has ended.

Where the process that controls the runs dies, they are begun again and need what it held.  Ray
has no public way to ask who created a group, so this reads the table of the control store.
"""

import ray
from ray._private.state import state
from ray.core.generated import gcs_pb2
from ray.util.placement_group import PlacementGroup, remove_placement_group

NIL = b"\xff"  # the id of nobody is all of these: the creator was the driver


def free_orphans() -> list[str]:
    """Remove every group that provably nobody holds any more; their ids in hex.

    That is: it is not detached, the actor that created it is dead, and no actor lives in it.
    """
    orphans = _orphans()
    for group in orphans:
        remove_placement_group(PlacementGroup(ray.PlacementGroupID(group)))
    return [group.hex() for group in orphans]


def _orphans() -> list[bytes]:
    table = gcs_pb2.PlacementGroupTableData
    accessor = state._connect_and_get_accessor()
    groups = [table.FromString(row) for row in accessor.get_placement_group_table()]
    dead = {
        group.placement_group_id
        for group in groups
        if group.creator_actor_dead
        and group.creator_actor_id.strip(NIL)
        and not group.is_detached
        and group.state != table.REMOVED
    }
    if not dead:
        return []
    alive = [gcs_pb2.ActorTableData.FromString(r) for r in accessor.get_actor_table(None, "ALIVE")]
    return sorted(dead - {actor.placement_group_id for actor in alive})
