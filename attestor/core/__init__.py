"""THE RULES. Pure: values in, values out. No await, no clock, no I/O, no logging; imports nothing of ours."""
