"""The verb `sweep` of the command line, in a file of its own: it joins the others in ``cli``."""

from ray_slm import options
from ray_slm.options import DEFAULT_ROOT, AsJson, Places, Root, StudyName, Verbs


def register(verbs: Verbs) -> None:
    """Add the verb to the command."""

    @verbs.app.command()
    @verbs.friendly
    def sweep(
        study: StudyName,
        lr: options.Rates,
        modality: options.SweptModalities = [],  # noqa: B006 - typer copies it
        hours: options.SweptHours = None,
        root: Root = DEFAULT_ROOT,
        place: Places = [],  # noqa: B006
        as_json: AsJson = False,
        tracking_uri: options.Tracking = None,
    ) -> None:
        """Try learning rates on each modality; the worse ones are stopped early (ASHA)."""
        from ray_slm import launch, sweeping
        from ray_slm.study import load_study
        from ray_slm.sweep import Grid

        grid = Grid(rates=tuple(lr), modalities=tuple(modality), hours=hours)
        found, places = load_study(study), launch.places(place, verbs.cache())
        trials = sweeping.sweep_study(found, grid, verbs.store_at(root), places, tracking_uri)
        sweeping.show_sweep(found, trials, as_json=as_json)
