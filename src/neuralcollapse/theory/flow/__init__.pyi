from .asymptotics import flow_asymptotics as flow_asymptotics
from .collapse_errors import collapse_errors as collapse_errors
from .driver import gradient_flow as gradient_flow
