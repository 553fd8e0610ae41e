"""What an image will cost to decode, found out before it is: pixels, memory, passes over the pixels, headers.

A file of a few kilobytes can ask a decoder for gigabytes or minutes. Each module here reads as much of a format as that
takes, in time proportional to the file, and leaves everything else that may be wrong with a file to the decoder.
"""
