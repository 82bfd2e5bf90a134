"""The programs that lived beside the C suite, at work beside this one."""
