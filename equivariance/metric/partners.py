"""Which channel takes the place of which one when the image is transformed.

Olah et al., "Naturally Occurring Equivariance in Neural Networks" (Distill 2020), found by hand that channels of a
trained network are transformed copies of each other. Here: the partner of channel c under g is

    p_g(c) = argmax over c' of r[g, c, c'],

the channel of the image whose transformed map is most like channel c of the transformed image.
"""

import pandas as pd
from torch import Tensor


def partners(layer: str, index: int, transform: str, element: float | str, r: Tensor) -> pd.DataFrame:
    """One row per live channel: its partner, their correlation, and the channel's correlation with itself.

    Args:
        transform, element: name and element of g; other transformations may have the same element.
        r: (c, c), rows f(T_g x), columns T_g f(x); NaN for dead channels.
    """
    own = r.diagonal()
    live = (~own.isnan()).nonzero().flatten()
    best = r[live].nan_to_num(-2).max(1)
    columns = {"channel": live, "partner": best.indices, "r": best.values, "own": own[live]}
    place = {"layer": layer, "index": index, "transform": transform, "element": element}
    return pd.DataFrame(place | {name: values.cpu().numpy() for name, values in columns.items()})
