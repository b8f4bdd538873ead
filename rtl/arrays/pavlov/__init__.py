"""The LSTM-centric array of Pavlov: parameters come from memory into each element's registers."""
