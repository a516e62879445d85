"""DeepFM, DCNv2 and DLRM in PyTorch, layer for layer what algorithms/*/ builds.

Rows of all categorical features lie in one table, feature after feature; a row of
DeepFM is [linear weight | embedding], as in Pagoda. Parameters carry Pagoda's names,
with "." for "__", so that values can be copied from one to the other.
"""
import torch
import torch.nn.functional as F


class Tower(torch.nn.Module):
    """Dense parameters by Pagoda's names, made by the subclass with `linear`."""

    def __init__(self):
        super().__init__()
        self.dense = torch.nn.ParameterDict()

    def linear(self, name, fan_in, fan_out, bias=True, zeros=False):
        weight = torch.zeros(fan_out, fan_in)
        if not zeros:
            torch.nn.init.xavier_uniform_(weight)
        self.dense[name.replace(".", "__") + "__weight"] = torch.nn.Parameter(weight)
        if bias:
            self.dense[name.replace(".", "__") + "__bias"] = torch.nn.Parameter(torch.zeros(fan_out))

    def mlp(self, name, fan_in, hidden):
        for i, width in enumerate(hidden):
            self.linear(f"{name}.{i}", fan_in, width)
            fan_in = width
        return fan_in

    def apply_linear(self, name, x):
        key = name.replace(".", "__")
        bias = self.dense[key + "__bias"] if key + "__bias" in self.dense else None
        return F.linear(x, self.dense[key + "__weight"], bias)

    def apply_mlp(self, name, x, layers):
        for i in range(layers):
            x = torch.relu(self.apply_linear(f"{name}.{i}", x))
        return x


class DeepFm(Tower):
    def __init__(self, num_dense, num_features, dim, hidden):
        super().__init__()
        self.row_dim = 1 + dim
        self.hidden = len(hidden)
        self.num_dense = num_dense
        if num_dense:
            self.linear("linear", num_dense, 1, zeros=True)
        else:
            self.dense["linear__bias"] = torch.nn.Parameter(torch.zeros(1))
        width = self.mlp("deep", num_dense + num_features * dim, hidden)
        self.linear("out", width, 1, bias=False)

    def forward(self, dense, rows):  # [n, num_dense], [n, features, 1 + dim] -> logits [n]
        weights, embeddings = rows[:, :, 0], rows[:, :, 1:]
        total = embeddings.sum(1)
        fm = 0.5 * (total * total - (embeddings * embeddings).sum(1)).sum(1)
        linear = self.dense["linear__bias"].expand(len(rows))
        if self.num_dense:
            linear = self.apply_linear("linear", dense).squeeze(1)
        x = embeddings.flatten(1)
        if self.num_dense:
            x = torch.cat([dense, x], 1)
        deep = self.apply_linear("out", self.apply_mlp("deep", x, self.hidden)).squeeze(1)
        return linear + weights.sum(1) + fm + deep


class DcnV2(Tower):
    def __init__(self, num_dense, num_features, dim, hidden, cross_layers):
        super().__init__()
        self.row_dim = dim
        self.hidden = len(hidden)
        self.cross_layers = cross_layers
        self.num_dense = num_dense
        width = num_dense + num_features * dim
        for i in range(cross_layers):
            self.linear(f"cross.{i}", width, width)
        self.linear("out", self.mlp("deep", width, hidden), 1)

    def forward(self, dense, rows):
        x0 = rows.flatten(1)
        if self.num_dense:
            x0 = torch.cat([dense, x0], 1)
        x = x0
        for i in range(self.cross_layers):
            x = torch.addcmul(x, x0, self.apply_linear(f"cross.{i}", x))
        return self.apply_linear("out", self.apply_mlp("deep", x, self.hidden)).squeeze(1)


class Dlrm(Tower):
    def __init__(self, num_dense, num_features, dim, bottom_hidden, hidden):
        super().__init__()
        self.row_dim = dim
        self.bottom = len(bottom_hidden) + 1
        self.hidden = len(hidden)
        self.num_dense = num_dense
        if num_dense:
            self.mlp("bottom", num_dense, [*bottom_hidden, dim])
        else:
            self.dense["bottom__constant"] = torch.nn.Parameter(torch.zeros(dim))
        pairs = (num_features + 1) * num_features // 2
        self.linear("out", self.mlp("top", dim + pairs, hidden), 1)
        below = torch.tril_indices(num_features + 1, num_features + 1, -1)
        self.register_buffer("pairs", below[0] * (num_features + 1) + below[1])

    def forward(self, dense, rows):
        if self.num_dense:
            bottom = self.apply_mlp("bottom", dense, self.bottom)
        else:
            bottom = self.dense["bottom__constant"].expand(len(rows), -1)
        vectors = torch.cat([bottom.unsqueeze(1).to(rows.dtype), rows], 1)
        dots = torch.bmm(vectors, vectors.transpose(1, 2)).flatten(1)
        x = torch.cat([bottom, dots.index_select(1, self.pairs)], 1)
        return self.apply_linear("out", self.apply_mlp("top", x, self.hidden)).squeeze(1)
