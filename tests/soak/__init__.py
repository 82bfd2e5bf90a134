"""A long run of mixed traffic with everything going wrong meanwhile; at the end nothing may be lost or left behind."""
