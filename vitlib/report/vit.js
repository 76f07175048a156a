// The forward pass of vitlib/model.py for one image, in typed arrays. Matrices lie row by row.
// N tokens (the class token first), D width, H heads, K = D / H.
const vit = (config, tensors) => {
  "use strict";
  const { image_size: side, patch_size: P, embed_dim: D, depth, num_heads: H, mlp_ratio, mean, std } = config;
  const K = D / H,
    F = mlp_ratio * D,
    across = side / P;
  const layer = (name) => ({ weight: tensors[`${name}.weight`], bias: tensors[`${name}.bias`] });

  // x Wᵀ + b, in blocks of two rows of x and four of W: eight sums for six numbers read. At an edge, a row is its own
  // neighbour.
  const linear = (x, inputs, { weight, bias }) => {
    const rows = x.length / inputs,
      outputs = bias.length,
      y = new Float32Array(rows * outputs);
    for (let o = 0; o < outputs; o += 4) {
      const last = outputs - 1,
        o1 = Math.min(o + 1, last),
        o2 = Math.min(o + 2, last),
        o3 = Math.min(o + 3, last);
      const w0 = o * inputs,
        w1 = o1 * inputs,
        w2 = o2 * inputs,
        w3 = o3 * inputs;
      for (let row = 0; row < rows; row += 2) {
        const next = Math.min(row + 1, rows - 1),
          x0 = row * inputs,
          x1 = next * inputs;
        let a0 = bias[o],
          a1 = bias[o1],
          a2 = bias[o2],
          a3 = bias[o3],
          b0 = a0,
          b1 = a1,
          b2 = a2,
          b3 = a3;
        for (let i = 0; i < inputs; i += 1) {
          const a = x[x0 + i],
            b = x[x1 + i];
          const u0 = weight[w0 + i],
            u1 = weight[w1 + i],
            u2 = weight[w2 + i],
            u3 = weight[w3 + i];
          a0 += a * u0;
          a1 += a * u1;
          a2 += a * u2;
          a3 += a * u3;
          b0 += b * u0;
          b1 += b * u1;
          b2 += b * u2;
          b3 += b * u3;
        }
        const at = row * outputs,
          below = next * outputs;
        y[at + o] = a0;
        y[at + o1] = a1;
        y[at + o2] = a2;
        y[at + o3] = a3;
        y[below + o] = b0;
        y[below + o1] = b1;
        y[below + o2] = b2;
        y[below + o3] = b3;
      }
    }
    return y;
  };

  const norm = (x, { weight, bias }) => {
    const y = new Float32Array(x.length);
    for (let start = 0; start < x.length; start += D) {
      let sum = 0,
        squares = 0;
      for (let i = start; i < start + D; i += 1) sum += x[i];
      for (let i = start; i < start + D; i += 1) squares += (x[i] - sum / D) ** 2;
      const scale = 1 / Math.sqrt(squares / D + 1e-5); // PyTorch's epsilon
      for (let i = 0; i < D; i += 1) y[start + i] = (x[start + i] - sum / D) * scale * weight[i] + bias[i];
    }
    return y;
  };

  // x Φ(x); the error function after Abramowitz and Stegun, equation 7.1.26, exact to 1.5e-7
  const phi = (value) => {
    const z = Math.abs(value) / Math.SQRT2,
      t = 1 / (1 + 0.3275911 * z);
    const series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
    return (value + Math.abs(value) * (1 - series * Math.exp(-z * z))) / 2;
  };
  const gelu = (x) => {
    for (let i = 0; i < x.length; i += 1) x[i] = phi(x[i]);
    return x;
  };

  const softmax = (x, start = 0, end = x.length) => {
    let largest = -Infinity,
      sum = 0;
    for (let i = start; i < end; i += 1) largest = Math.max(largest, x[i]);
    for (let i = start; i < end; i += 1) sum += x[i] = Math.exp(x[i] - largest);
    for (let i = start; i < end; i += 1) x[i] /= sum;
    return x;
  };

  // a head's K columns of x (N, D): as (N, K), or transposed
  const head = (x, h, transposed) => {
    const N = x.length / D,
      y = new Float32Array(N * K);
    for (let n = 0; n < N; n += 1) {
      for (let i = 0; i < K; i += 1) y[transposed ? i * N + n : n * K + i] = x[n * D + h * K + i];
    }
    return y;
  };

  const attend = (q, k, v) => {
    const N = q.length / D,
      weights = new Float32Array(H * N * N),
      y = new Float32Array(N * D);
    const none = new Float32Array(Math.max(N, K));
    for (let h = 0; h < H; h += 1) {
      const scores = linear(head(q, h, false), K, { weight: head(k, h, false), bias: none.subarray(0, N) });
      for (let i = 0; i < N * N; i += 1) scores[i] /= Math.sqrt(K);
      for (let n = 0; n < N; n += 1) softmax(scores, n * N, (n + 1) * N);
      weights.set(scores, h * N * N);
      const gathered = linear(scores, N, { weight: head(v, h, true), bias: none.subarray(0, K) });
      for (let n = 0; n < N; n += 1) y.set(gathered.subarray(n * K, (n + 1) * K), n * D + h * K);
    }
    return { weights, y };
  };

  const add = (x, y) => {
    const sum = new Float32Array(x);
    for (let i = 0; i < x.length; i += 1) sum[i] += y[i];
    return sum;
  };

  const patchify = (pixels, patches) => {
    const x = new Float32Array(patches.length * P * P);
    patches.forEach((patch, n) => {
      const corner = Math.floor(patch / across) * P * side + (patch % across) * P;
      for (let i = 0; i < P * P; i += 1) {
        x[n * P * P + i] = (pixels[corner + Math.floor(i / P) * side + (i % P)] / 255 - mean) / std;
      }
    });
    return x;
  };

  // Classify an image: pixels 0 to 255, and the patches (0, 1, ...) that the network gets to see. Returns the classes'
  // probabilities and, for each layer, the attention weights (H, N, N). `watch` is called with each step's result.
  return (pixels, patches, watch = () => {}) => {
    const cut = patchify(pixels, patches),
      embedded = linear(cut, P * P, layer("embedding"));
    watch("cut", cut, P * P);
    watch("embedded", embedded, D);
    let x = new Float32Array((patches.length + 1) * D);
    x.set(tensors.class_token);
    x.set(embedded, D);
    [0, ...patches.map((patch) => patch + 1)].forEach((position, n) => {
      for (let i = 0; i < D; i += 1) x[n * D + i] += tensors.positions[position * D + i];
    });
    watch("tokens", x, D);
    const attention = [];
    for (let l = 0; l < depth; l += 1) {
      const part = (name) => layer(`encoder.${l}.${name}`),
        see = (name, y, width) => watch(`${name} ${l + 1}`, y, width);
      const norm1 = part("norm1.norm"),
        norm2 = part("norm2.norm").weight ? part("norm2.norm") : norm1;
      const normed = norm(x, norm1);
      const [q, k, v] = ["query", "key", "value"].map((name) => linear(normed, D, part(`attention.${name}`)));
      const { weights, y } = attend(q, k, v);
      attention.push(weights);
      x = add(x, linear(y, D, part("attention.output")));
      [
        ["queries", q],
        ["gathered", y],
        ["attended", x],
      ].forEach(([name, result]) => see(name, result, D));
      const hidden = gelu(linear(norm(x, norm2), D, part("mlp.fc1")));
      x = add(x, linear(hidden, F, part("mlp.fc2")));
      see("hidden", hidden, F);
      see("layer", x, D);
    }
    const answer = norm(x.slice(0, D), layer("norm")),
      logits = linear(answer, D, layer("head"));
    watch("answer", answer, D);
    watch("logits", logits, logits.length);
    return { probabilities: softmax(Float64Array.from(logits)), attention };
  };
};
