"""Programs of the standard library, as they stand: a group of its own, so that the suite stays what it was. Reconstruction of images is in ``mri``.

JAX and torch.compile are left out where a program ends by itself, meets conditions on data, calls a function of torch, or draws noise; torch.compile also
where it would take hundreds of iterations one by one. Gradients are asked for where programs have parameters that one learns, or are projections.
"""

from __future__ import annotations

from collections.abc import Mapping

from .. import mri
from . import bilevel, em, es, networks, optim, primal_dual, sparse
from .held import Contests


def contests() -> Mapping[str, Contests]:
    """The contests of each program."""
    return {
        **{name: sparse.recovery(name) for name in ("ista", "fista", "iht", "lista", "alista", "admm_lasso", "amp")},
        "unem_gaussian": em.unem_gaussian, "unem_dirichlet": em.unem_dirichlet, "gmm": em.gmm, "gmm_full": em.gmm_full,
        "factor_analysis": em.factor_analysis, "factors": em.factors,
        "alf_lb": primal_dual.alf_lb, "alf_lb_sign": primal_dual.alf_lb_sign, "alf_lb_online": primal_dual.alf_lb_online,
        "sinkhorn": primal_dual.sinkhorn, "tv": primal_dual.tv, "pdhg_lp": primal_dual.pdhg_lp, "capped_simplex": primal_dual.capped_simplex,
        **{name: optim.descent(name) for name in optim.VALUES},
        "gns_newton": optim.gns_newton, "gns_smooth_max": optim.gns_smooth_max, "mfac_static": optim.mfac_static,
        "open_es": es.full_rank, "eggroll": es.low_rank(1), "generation": es.generation, "eggroll_int8": es.integers,
        **{name: es.forward_passes(name) for name in ("mezo", "mezo_deferred")},
        "cirim": mri.cirim, "cirim_explicit": mri.cirim_explicit, "recurrent_varnet": mri.recurrent_varnet,
        "hyperclean": bilevel.cleaning("hyperclean", 50), "hyperclean_implicit": bilevel.cleaning("hyperclean_implicit", 10),
        **{name: bilevel.general(name) for name in bilevel.GENERAL},
        **{name: networks.selection(name) for name in ("select_layers", "select_layers_direct")},
        "worst_forget": networks.worst_forget,
    }  # fmt: skip
