// Just enough of ONNX to write a network of convolutions: protocol buffer messages by their field
// numbers in onnx.proto (ONNX 1.15, opset 13).

function varint(n) {
  const bytes = [];
  for (n = BigInt(n); n > 127n; n >>= 7n) bytes.push(Number(n & 127n) | 128);
  return Buffer.from([...bytes, Number(n)]);
}

const number = (field, n) => Buffer.concat([varint(field << 3), varint(n)]);
const bytes = (field, data) => {
  const body = Buffer.isBuffer(data) ? data : Buffer.from(data);
  return Buffer.concat([varint((field << 3) | 2), varint(body.length), body]);
};
const message = (field, ...parts) => bytes(field, Buffer.concat(parts));

const TYPE_FLOAT = 1, ATTRIBUTE_INT = 2, ATTRIBUTE_INTS = 7;

function attribute(name, value) {
  return Array.isArray(value)
    ? message(5, bytes(1, name), ...value.map((n) => number(8, n)), number(20, ATTRIBUTE_INTS))
    : message(5, bytes(1, name), number(3, value), number(20, ATTRIBUTE_INT));
}

function tensorType(name, shape) {
  const dims = shape.map((n) => message(1, number(1, n)));
  return [bytes(1, name), message(2, message(1, number(1, TYPE_FLOAT), message(2, ...dims)))];
}

export class OnnxGraph {
  #parts = [];
  #values = 0;

  input(name, shape) {
    this.#parts.push(message(11, ...tensorType(name, shape)));
    return name;
  }

  output(name, shape) {
    this.#parts.push(message(12, ...tensorType(name, shape)));
  }

  weights(shape, data) {
    const name = `w${this.#values++}`;
    const raw = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
    this.#parts.push(message(5, ...shape.map((n) => number(1, n)), number(2, TYPE_FLOAT),
      bytes(8, name), bytes(9, raw)));
    return name;
  }

  // Returns the name of the operation's output.
  op(type, inputs, attributes = {}, output = `v${this.#values++}`) {
    this.#parts.push(message(1, ...inputs.map((i) => bytes(1, i)), bytes(2, output),
      bytes(4, type), ...Object.entries(attributes).map(([k, v]) => attribute(k, v))));
    return output;
  }

  // The whole model, ready for a runtime.
  model() {
    return Buffer.concat([number(1, 8), message(8, number(2, 13)),
      message(7, bytes(2, 'g'), ...this.#parts)]);
  }
}
